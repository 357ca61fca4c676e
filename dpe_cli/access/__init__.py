"""Who may see what: the access list, checks of the catalog, and measurements that act as each role."""
