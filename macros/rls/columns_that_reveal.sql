{#
    Return the columns of a snapshot from which one of its masked columns can be read or guessed, each with that column. dbt copies the time of a
    change (`updated_at`) into three columns, and makes `dbt_scd_id` of the unique key and that time.
#}
{% macro columns_that_reveal(masked, columns) %}

{% set revealing = {} %}
{% if config.get('materialized') == 'snapshot' %}
    {% set own = config.get('snapshot_table_column_names') or get_snapshot_table_column_names() %}
    {% set keys = config.get('unique_key') or [] %}
    {% for name in masked %}
        {% for key in ([keys] if keys is string else keys) if dpe.reads_column(key, name, columns) %}
            {% do revealing.update({own.dbt_scd_id: name}) %}
        {% endfor %}
        {% if dpe.reads_column(config.get('updated_at') or '', name, columns) %}
            {% for copy in [own.dbt_scd_id, own.dbt_updated_at, own.dbt_valid_from, own.dbt_valid_to] %}
                {% do revealing.update({copy: name}) %}
            {% endfor %}
        {% endif %}
    {% endfor %}
{% endif %}
{{ return(revealing) }}

{% endmacro %}
