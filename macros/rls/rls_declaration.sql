{#
    Return the `meta.rls` of the node that is being built (docs/guides/row-level-security.md). Private is the default outside of marts.
#}
{% macro rls_declaration() %}

{% set declaration = (model.config.meta or {}).get('rls') %}
{% set where = model.name ~ " (" ~ model.original_file_path ~ ")" %}

{% set schema = dpe.published_schema(model) %}
{% if schema in ['dpe', 'dpe_locks', 'information_schema', 'public', 'quality'] or modules.re.search('^pg_|__(next|previous|old_[0-9]+)$', schema) %}
    {{ exceptions.raise_compiler_error(where ~ ": the schema " ~ schema ~ " is not for models; set another one, such as marts") }}
{% endif %}

{% if declaration is none or declaration is undefined %}
    {% if 'marts' in model.fqn[1:-1] or schema == 'marts' %}
        {{ exceptions.raise_compiler_error(
            where ~ ": a model in marts has to declare who may see it; write meta.rls as {tenant_column: …}, {shared: true} or {private: true}"
        ) }}
    {% endif %}
    {{ return({'private': true}) }}
{% endif %}

{% if not dpe.is_rls_declaration(declaration) %}
    {{ exceptions.raise_compiler_error(
        where ~ ": meta.rls is " ~ declaration ~ "; write one of {tenant_column: …}, {shared: true} and {private: true}, "
        ~ "{role_column: …} or {access: {model: …, column: …, role_column: …}}"
    ) }}
{% endif %}

{% if schema == 'staging' and not declaration.private %}
    {{ exceptions.raise_compiler_error(
        where ~ ": readers may read nothing in the schema staging, but meta.rls names some; declare {private: true}, or set another schema"
    ) }}
{% endif %}

{% if declaration.access %}
    {% do dpe.access_relation(declaration.access) %}
{% endif %}

{{ return(declaration) }}

{% endmacro %}
