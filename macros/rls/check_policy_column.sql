{#
    Refuse a column in a declaration that the relation, once it is there, does not have, or that holds no text: tenants, roles
    and keys are compared as text.
#}
{% macro check_policy_column(name) %}

{% set where = model.name ~ " (" ~ model.original_file_path ~ ")" %}
{% set columns = adapter.get_columns_in_relation(this) %}
{% set found = columns | selectattr('name', 'equalto', name) | first %}

{% if not found %}
    {{ exceptions.raise_compiler_error(
        where ~ ": meta.rls names the column " ~ name ~ "; name one of its columns (" ~ columns | map(attribute='name') | join(', ') ~ ")"
    ) }}
{% endif %}

{% if not (found.is_string() or found.data_type == 'name') %}
    {{ exceptions.raise_compiler_error(
        where ~ ": meta.rls compares the column " ~ name ~ ", which is " ~ found.data_type ~ "; cast it to text, as what it is compared with"
    ) }}
{% endif %}

{% endmacro %}
