{#
    Return the `meta.rls` of the node that is being built (docs/guides/row-level-security.md). Private is the default, unless a folder of
    dbt_project.yml requires a declaration: `+meta: {rls: required}`.
#}
{% macro rls_declaration() %}

{% set declaration = (model.config.meta or {}).get('rls') %}
{% set where = model.name ~ " (" ~ model.original_file_path ~ ")" %}

{% set schema = dpe.published_schema(model) %}
{% if dpe.is_reserved_schema(schema) %}
    {{ exceptions.raise_compiler_error(where ~ ": the schema " ~ schema ~ " is not for models; set another one") }}
{% endif %}

{% if declaration is none or declaration is undefined %}
    {{ return({'private': true}) }}
{% elif declaration == 'required' %}
    {{ exceptions.raise_compiler_error(
        where ~ ": has to declare who may see it; write meta.rls as {tenant_column: …}, {shared: true}, {private: true}, "
        ~ "{role_column: …} or {access: …}"
    ) }}
{% endif %}

{% if not dpe.is_rls_declaration(declaration) %}
    {{ exceptions.raise_compiler_error(
        where ~ ": meta.rls is " ~ declaration ~ "; write one of {tenant_column: …}, {shared: true} and {private: true}, "
        ~ "{role_column: …} or {access: {model: …, column: …, role_column: …}}"
    ) }}
{% endif %}

{% set of_sources = [] %}
{% for source in graph.sources.values() if source.external %}
    {% do of_sources.append(dpe.stored_name(source).schema) %}
{% endfor %}
{% if not declaration.private and schema in of_sources %}
    {{ exceptions.raise_compiler_error(
        where ~ ": meta.rls opens it to readers, who cannot use the schema " ~ schema ~ ", because sources are loaded there; "
        ~ "declare {private: true}, or set another schema"
    ) }}
{% endif %}

{% if declaration.access %}
    {% do dpe.access_relation(declaration.access) %}
{% endif %}

{{ return(declaration) }}

{% endmacro %}
