{#
    Fails with one row if the build has lost or gained a larger share of the published version's rows than allowed:
    `max_decrease: 0.1` is a tenth. Compares with the version that readers see, so it passes if nothing is published yet, and
    if dbt builds in place.
#}
{% test row_count_against_published(model, max_decrease=none, max_increase=none) %}

{% set published = none %}
{% set tested = graph.nodes.get(context['model'].attached_node) if execute else none %}
{% set schema = dpe.published_schema(tested) if tested else none %}
{% if tested and tested.schema != schema %}
    {% set published = adapter.get_relation(tested.database, schema, tested.alias) %}
{% endif %}
{% set where = context['model'].config.where if published else none %}

with

counts as (

    select
        (select count(*) from {{ model }}) as row_count,
        (select count(*) from {{ published or model }}{{ ' where ' ~ where if where }}) as published_row_count

)

select
    row_count,
    published_row_count
from counts
where
    false
    {%- if max_decrease is not none %}
    or row_count < published_row_count * (1 - {{ max_decrease }})
    {%- endif %}
    {%- if max_increase is not none %}
    or row_count > published_row_count * (1 + {{ max_increase }})
    {%- endif %}

{% endtest %}
