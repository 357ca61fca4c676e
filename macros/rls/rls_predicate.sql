{#
    The rows that somebody sees under a declaration: `audience` is 'reader', or 'system' for the pipeline and administrators; 'mask'
    is what a reader's view has to meet besides, where columns are masked: masked readers see no rows through its reader's rights.
    Every predicate of a model's policies is written here; another engine has its own form as `<adapter>__rls_predicate`.
#}
{% macro rls_predicate(declaration, audience) %}
{{ return(adapter.dispatch('rls_predicate')(declaration, audience)) }}
{% endmacro %}
