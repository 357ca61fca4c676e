{#
    The condition for the rows that an audience sees under a declaration: `audience` is 'reader', or 'system' for the pipeline and
    administrators; 'mask' is an additional condition if columns are masked, so that masked readers see no rows through a reader's view.
    `readers` are the roles that the relation is granted to.
    All predicates of a model's policies come from here; another engine has its own form as `<adapter>__rls_predicate`.
#}
{% macro rls_predicate(declaration, audience, readers=[]) %}
{{ return(adapter.dispatch('rls_predicate', 'dpe')(declaration, audience, readers)) }}
{% endmacro %}
