{#
    The condition that a row (with this alias) of the table that is being built breaks a test's rule: it has the values of a row
    that the test returns. So a test has to return columns of the model that identify a failing row.
#}
{% macro breaks(relation, test, alias) %}

{% set named = {'unique_field': test.column_name, 'value_field': test.column_name, 'from_field': test.column_name} %}
{% set failing_rows = dpe.failing_rows_of(relation, test) %}
{% set own = adapter.get_columns_in_relation(relation) | map(attribute='name') | list %}
{% set own_columns = [] %}
{% set their_columns = [] %}
{% set returned = get_columns_in_query(failing_rows) %}
{# dbt's own tests rename the tested column, and add a count, which is not a column of the model. #}
{% set has_names_of_dbt = returned | select('in', named) | list | length > 0 %}
{% for column in returned %}
    {% set name = named.get(column, column) %}
    {% if name in own and (column in named or not has_names_of_dbt) %}
        {% do own_columns.append(alias ~ '.' ~ dpe.quote_name(name)) %}
        {% do their_columns.append('failing_rows.' ~ dpe.quote_name(column)) %}
    {% endif %}
{% endfor %}

{% if not own_columns %}
    {{ exceptions.raise_compiler_error(
        test.name ~ " (" ~ test.original_file_path ~ "): does not return columns of " ~ model.name
        ~ ", so the rows that break rule " ~ test.config.meta.rule ~ " cannot be found; remove on_failure: quarantine, or use a test that does"
    ) }}
{% endif %}

{# As text, nulls are equal to nulls, and PostgreSQL can look up all rows in one hash table. #}
row({{ own_columns | join(', ') }})::text in (
    select row({{ their_columns | join(', ') }})::text
    from (
        {{ failing_rows }}
    ) as failing_rows
)

{% endmacro %}
