{#
    The statement that records how a relation is protected now: PostgreSQL commits only if that has not changed, and a table that is kept
    between runs is left alone as long as it has not. `node` is dbt's unique id of the relation's node.
#}
{% macro remember_protection(relation, node, declared) %}

select dpe.remember_protection({{ dpe.regclass_of(relation) }}, {{ dpe.literal_of(node) }}, {{ dpe.literal_of(declared) }}, '{{ invocation_id }}');

{% endmacro %}
