{#
    Fails each row whose text is not a value of the type. A null passes. Needs PostgreSQL 16: before, a cast can only be tested
    by a query that fails.
#}
{% test is_castable(model, column_name, data_type) %}

{% if execute and adapter.execute("select current_setting('server_version_num')::integer", fetch=true)[1].rows[0][0] < 160000 %}
    {{ exceptions.raise_compiler_error("is_castable: needs PostgreSQL 16 or later; test the column with matches_pattern") }}
{% endif %}

select *
from {{ model }}
where not pg_input_is_valid({{ dpe.quoted(column_name) }}::text, '{{ data_type }}')

{% endtest %}
