{#
    Return the `meta.rls` of the node that is being built: {tenant_column: …}, {shared: true} or {private: true}.
    Private is the default outside of marts.
#}
{% macro rls_declaration() %}

{% set declaration = (model.config.meta or {}).get('rls') %}
{% set where = model.name ~ " (" ~ model.original_file_path ~ ")" %}

{% if declaration is none or declaration is undefined %}
    {% if 'marts' in model.fqn[1:-1] or model.schema == 'marts' ~ schema_suffix() %}
        {{ exceptions.raise_compiler_error(
            where ~ ": a model in marts has to say who may see it; declare meta.rls as {tenant_column: …}, {shared: true} or {private: true}"
        ) }}
    {% endif %}
    {{ return({'private': true}) }}
{% endif %}

{% set kind, value = (declaration.items() | first) if declaration is mapping and declaration | length == 1 else (none, none) %}
{% if not ((kind in ['shared', 'private'] and value is sameas true) or (kind == 'tenant_column' and value is string)) %}
    {{ exceptions.raise_compiler_error(
        where ~ ": meta.rls is " ~ declaration ~ "; write one of {tenant_column: …}, {shared: true} and {private: true}"
    ) }}
{% endif %}

{{ return(declaration) }}

{% endmacro %}
