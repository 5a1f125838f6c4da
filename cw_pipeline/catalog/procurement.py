"""Products, purchasing, the catalog and the warehouses."""

from __future__ import annotations

from cw_pipeline.catalog.declare import entity

RIGHT = "Procurement > Products"
"""Where a security role keeps the right to inquire these lists, unless a line says another."""

ENTITIES = (
    entity("/procurement/RMADispositions"),
    entity("/procurement/adjustments", "Inventory adjustments", core=True),
    entity("/procurement/adjustments/{parentId}/details"),
    entity("/procurement/adjustments/types", "Inventory adjustment types", core=True),
    entity(
        "/procurement/catalog",
        "The product catalog",
        core=True,
        right="Procurement > Product Catalog",
    ),
    entity("/procurement/catalog/{parentId}/components"),
    entity("/procurement/catalog/{parentId}/inventory"),
    entity("/procurement/catalog/{parentId}/minimumStockByWarehouse"),
    entity("/procurement/catalog/vendors/{parentId}", parent="/procurement/catalog"),
    entity("/procurement/categories", "Product categories", core=True),
    entity("/procurement/categories/{parentId}/subcategories/"),
    entity("/procurement/changeorder"),
    entity("/procurement/directionalSyncs"),
    entity("/procurement/invoicegrouping"),
    entity("/procurement/manufacturers", "Manufacturers", core=True),
    entity("/procurement/onhandserialnumbers"),
    entity("/procurement/pricingschedules"),
    entity("/procurement/pricingschedules/{parentId}/details"),
    entity("/procurement/pricingschedules/{grandparentId}/details/{parentId}/breaks"),
    entity(
        "/procurement/products",
        "Products on tickets, projects, orders, agreements",
        core=True,
        history=True,
    ),
    entity("/procurement/products/{parentId}/components"),
    entity("/procurement/products/{parentId}/pickingShippingDetails"),
    entity(
        "/procurement/purchaseorders",
        "Purchase orders",
        core=True,
        right="Procurement > Purchase Orders",
    ),
    entity("/procurement/purchaseorders/{parentId}/lineitems", "Lines of orders", core=True),
    entity("/procurement/purchaseorders/{parentId}/notes"),
    entity("/procurement/purchaseorderstatuses", "Purchase order statuses", core=True),
    entity("/procurement/purchaseorderstatuses/{parentId}/emailtemplates/"),
    entity("/procurement/purchaseorderstatuses/{parentId}/notifications"),
    entity("/procurement/rmaActions"),
    entity("/procurement/rmaStatuses"),
    entity("/procurement/rmaStatuses/{parentId}/emailTemplates/"),
    entity("/procurement/rmaStatuses/{parentId}/notifications"),
    entity("/procurement/rmaTags"),
    entity("/procurement/settings"),
    entity("/procurement/shipmentmethods"),
    entity("/procurement/subcategories/", "Product subcategories", core=True),
    entity("/procurement/types", "Product types", core=True),
    entity("/procurement/unitOfMeasures", "Units of measure", core=True),
    entity("/procurement/unitOfMeasures/{parentId}/conversions"),
    entity("/procurement/warehouseBins", "Bins of warehouses", core=True),
    entity("/procurement/warehouseBins/{parentId}/inventoryOnHand"),
    entity("/procurement/warehouses", "Warehouses", core=True),
)
