"""The reports there are: name → list path, columns as `Name:Type:field`.

Column names are those of the product's SQL views, not the REST names.
"""

from __future__ import annotations

REPORTS: dict[str, tuple[str, str]] = {
    "Service": (
        "/service/tickets",
        (
            "SR_Service_RecID:Numeric:id Summary:Text:summary Board_Name:Text:board/name"
            " Service_Status_Desc:Text:status/name Company_Name:Text:company/name"
            " Company_RecID:Numeric:company/id Severity:Text:severity Impact:Text:impact"
            " Closed_Flag:Boolean:closedFlag Date_Entered_UTC:DateTime:_info/dateEntered"
            " Date_Closed_UTC:DateTime:closedDate Date_Required:DateTime:requiredDate"
            " Hours_Actual:Numeric:actualHours Hours_Budget:Numeric:budgetHours"
            " AGR_Header_RecID:Numeric:agreement/id Last_Update_UTC:DateTime:_info/lastUpdated"
            " Updated_By:Text:_info/updatedBy"
        ),
    ),
    "Time": (
        "/time/entries",
        (
            "Time_RecID:Numeric:id"
            " Member_ID:Text:member/identifier Company_RecID:Numeric:company/id"
            " SR_Service_RecID:Numeric:ticket/id Agreement:Text:agreement/name"
            " Date_Start:DateTime:timeStart Time_End_UTC:DateTime:timeEnd"
            " Billable_Hrs:Numeric:hoursBilled Hours_Actual:Numeric:actualHours"
            " Hourly_Cost:Text:hourlyCost Hourly_Cost_Decimal:Numeric:hourlyCost"
            " Hourly_Rate:Numeric:hourlyRate Option_ID:Text:billableOption Notes:Text:notes"
            " Invoice_Flag:Boolean:invoiceFlag Last_Update_UTC:DateTime:_info/lastUpdated"
        ),
    ),
    "Company": (
        "/company/companies",
        (
            "Company_RecID:Numeric:id Company_ID:Text:identifier Company_Name:Text:name"
            " Company_Status_Desc:Text:status/name Annual_Revenue:Numeric:annualRevenue"
            " Date_Acquired_UTC:DateTime:dateAcquired Delete_Flag:Boolean:deletedFlag"
            " Territory:Text:territory/name Last_Update_UTC:DateTime:_info/lastUpdated"
            " Updated_By:Text:_info/updatedBy"
        ),
    ),
    "Contact": (
        "/company/contacts",
        (
            "Contact_RecID:Numeric:id First_Name:Text:firstName Last_Name:Text:lastName"
            " Company_RecID:Numeric:company/id Company_Name:Text:company/name Title:Text:title"
            " Inactive_Flag:Boolean:inactiveFlag Last_Update_UTC:DateTime:_info/lastUpdated"
        ),
    ),
    "ServiceNote": (
        "/service/tickets/{}/notes",
        (
            "RecID:Numeric:id SR_Service_RecID:Numeric:ticketId Notes:Text:text"
            " Detail_Description_Flag:Boolean:detailDescriptionFlag"
            " Internal_Analysis_Flag:Boolean:internalAnalysisFlag"
            " Resolution_Flag:Boolean:resolutionFlag Created_By:Text:createdBy"
            " Date_Created_UTC:DateTime:dateCreated Member_RecID:Numeric:member/id"
            " Last_Update_UTC:DateTime:_info/lastUpdated Updated_By:Text:_info/updatedBy"
        ),
    ),
    "AgreementAdditions": (
        "/finance/agreements/{}/additions",
        (
            "Addition_RecId:Numeric:id AGR_RecID:Numeric:agreementId"
            " Product_Description:Text:description Bill_Customer:Text:billCustomer"
            " Total_Quantity:Numeric:quantity Unit_Price:Numeric:unitPrice"
            " Unit_Cost:Numeric:unitCost"
            " Ext_Price:Numeric:extPrice Ext_Cost:Numeric:extCost Taxable:Boolean:taxableFlag"
            " Effective_Date:DateTime:effectiveDate Cancelled_Date:DateTime:cancelledDate"
            " Last_Update_UTC:DateTime:_info/lastUpdated"
        ),
    ),
    # A join that gives one name twice, as real reports do.
    "Activity": (
        "/sales/activities",
        (
            "SO_Activity_RecID:Numeric:id Subject:Text:name Company_Name:Text:company/name"
            " Assign_To:Text:assignTo/identifier Close_Flag:Boolean:closeFlag"
            " Last_Update:DateTime:_info/lastUpdated Last_Update:DateTime:_info/dateEntered"
        ),
    ),
    "OnCall": (
        "/schedule/oncall",
        ("RecID:Numeric:id Member_ID:Text:member/identifier Start_UTC:DateTime:dateStart"),
    ),
}

WITHOUT_ROWS = frozenset({"OnCall"})
"""Reports that leave `row_values` out when there are none."""
