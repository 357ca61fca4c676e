{#
    Refuse a declared column that the built relation does not have, or that does not have one of PostgreSQL's text types: tenants, roles and
    keys are compared as text, and another role's type, cast or collation could decide which values are equal.
#}
{% macro check_policy_column(name) %}

{% set where = model.name ~ " (" ~ model.original_file_path ~ ")" %}
{% set found = dbt.run_query(
    "select format_type(atttypid, atttypmod) as type, atttypid in ('text'::regtype, 'varchar'::regtype, 'bpchar'::regtype, 'name'::regtype) as is_text, "
    ~ "coalesce(collisdeterministic, true) as is_exact from pg_attribute left join pg_collation on pg_collation.oid = attcollation "
    ~ "where attrelid = " ~ dpe.regclass_of(this) ~ " and attname = '" ~ name | replace("'", "''") ~ "' and attnum > 0 and not attisdropped"
).rows | first %}

{% if not found %}
    {% set columns = adapter.get_columns_in_relation(this) %}
    {{ exceptions.raise_compiler_error(
        where ~ ": meta.rls names the column " ~ name ~ "; name one of its columns (" ~ columns | map(attribute='name') | join(', ') ~ ")"
    ) }}
{% elif not found['is_text'] %}
    {{ exceptions.raise_compiler_error(
        where ~ ": meta.rls compares the column " ~ name ~ ", which is " ~ found['type'] ~ "; cast it to text, because it is compared with text"
    ) }}
{% elif not found['is_exact'] %}
    {{ exceptions.raise_compiler_error(
        where ~ ": meta.rls compares the column " ~ name ~ ", whose collation treats different texts as equal; give it the collation "
        ~ '"default"'
    ) }}
{% endif %}

{% endmacro %}
