{#
    Return the `meta.rls` of the node that is being built (docs/guides/row-level-security.md). Private is the default outside of marts.
#}
{% macro rls_declaration() %}

{% set declaration = (model.config.meta or {}).get('rls') %}
{% set where = model.name ~ " (" ~ model.original_file_path ~ ")" %}

{% if declaration is none or declaration is undefined %}
    {% if 'marts' in model.fqn[1:-1] or model.schema == 'marts' ~ schema_suffix() %}
        {{ exceptions.raise_compiler_error(
            where ~ ": a model in marts has to declare who may see it; write meta.rls as {tenant_column: …}, {shared: true} or {private: true}"
        ) }}
    {% endif %}
    {{ return({'private': true}) }}
{% endif %}

{% if not is_rls_declaration(declaration) %}
    {{ exceptions.raise_compiler_error(
        where ~ ": meta.rls is " ~ declaration ~ "; write one of {tenant_column: …}, {shared: true} and {private: true}, "
        ~ "{role_column: …} or {access: {model: …, column: …, role_column: …}}"
    ) }}
{% endif %}

{% if declaration.access %}
    {% do access_relation(declaration.access) %}
{% endif %}

{{ return(declaration) }}

{% endmacro %}
