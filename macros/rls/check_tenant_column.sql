{#
    Refuse a tenant column that the relation, once it is there, does not have, or that holds no text: tenants are compared
    as text.
#}
{% macro check_tenant_column(name) %}

{% set where = model.name ~ " (" ~ model.original_file_path ~ ")" %}
{% set columns = adapter.get_columns_in_relation(this) %}
{% set found = columns | selectattr('name', 'equalto', name) | first %}

{% if not found %}
    {{ exceptions.raise_compiler_error(
        where ~ ": meta.rls names the tenant column " ~ name ~ "; name one of its columns (" ~ columns | map(attribute='name') | join(', ') ~ ")"
    ) }}
{% endif %}

{% if not found.is_string() %}
    {{ exceptions.raise_compiler_error(
        where ~ ": the tenant column " ~ name ~ " is " ~ found.data_type ~ "; cast it to text, as tenants are in dpe.tenant_access"
    ) }}
{% endif %}

{% endmacro %}
