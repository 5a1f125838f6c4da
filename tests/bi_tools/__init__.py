"""Starting points for BI tools, made from the published schema and from one text of metrics.

    python -m tests.bi_tools            # writes what is in sql/bi anew
    python -m tests.bi_tools --types    # asks a PostgreSQL of its own for the types, before

star       tables, columns, types, keys and relations of the reporting schema
metrics    `sql/bi/dbt/models/metrics.yml`, and each metric in SQL
dbt        the dbt package
power_bi   the Power BI project, with the report of power_bi_report
dashboards what four dashboards show, and the datasets they ask
superset   the same for Superset
metabase   the same for Metabase; metabase_sql reads what that asks
"""
