"""
Who may see what: the access list, checks of the catalog, and measurements that act as each role.

The policies themselves are those of macros/rls/protect_table.sql for models, and of load/policies.py for staging.
"""
