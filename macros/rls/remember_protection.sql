{#
    The statement that remembers how a relation is protected now: PostgreSQL commits only if it still is so then, and a table that is
    kept from run to run is left alone as long as it is. `node` is dbt's unique id of what the relation belongs to.
#}
{% macro remember_protection(relation, node, declared) %}

select dpe.remember_protection({{ regclass_of(relation) }}, '{{ node }}', '{{ declared | replace("'", "''") }}', '{{ invocation_id }}');

{% endmacro %}
