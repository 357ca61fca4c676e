{#
    The relation in which dbt builds the next version of another one, or keeps the previous one. dbt cuts long names by characters, but
    PostgreSQL by bytes, so that a name of other letters than ASCII's became the name of the relation itself; and two long names that
    begin alike got the same one.
#}
{% macro relation_with_suffix(base_relation, suffix) %}

{{ return(base_relation.incorporate(path={'identifier': dpe.companion_name(base_relation.identifier, suffix)})) }}

{% endmacro %}
