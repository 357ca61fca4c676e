{#
    Return the `meta.rls` of the node that is being built: {tenant_column: …}, {shared: true} or {private: true}.
    Private is the default outside of marts.
#}
{% macro rls_declaration() %}

{% set declaration = (model.config.meta or {}).get('rls') %}
{% set where = model.name ~ " (" ~ model.original_file_path ~ ")" %}

{% if declaration is none or declaration is undefined %}
    {% if 'marts' in model.fqn[1:-1] or model.schema == 'marts' %}
        {{ exceptions.raise_compiler_error(
            where ~ ": a model in marts has to say who may see it; declare meta.rls as {tenant_column: …}, {shared: true} or {private: true}"
        ) }}
    {% endif %}
    {{ return({'private': true}) }}
{% endif %}

{% if declaration is not mapping or declaration | length != 1 or (declaration.keys() | first) not in ['tenant_column', 'shared', 'private'] %}
    {{ exceptions.raise_compiler_error(
        where ~ ": meta.rls is " ~ declaration ~ "; write one of {tenant_column: …}, {shared: true} and {private: true}"
    ) }}
{% endif %}

{% if declaration.tenant_column and model.columns and declaration.tenant_column not in model.columns %}
    {{ exceptions.raise_compiler_error(
        where ~ ": meta.rls names the tenant column " ~ declaration.tenant_column ~ ", which is not among its columns"
    ) }}
{% endif %}

{{ return(declaration) }}

{% endmacro %}
