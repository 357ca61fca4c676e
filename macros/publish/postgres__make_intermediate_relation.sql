{#
    The relation in which dbt builds the next version of another one: macros/publish/relation_with_suffix.sql.
#}
{% macro postgres__make_intermediate_relation(base_relation, suffix) %}

{{ return(dpe.relation_with_suffix(base_relation, suffix)) }}

{% endmacro %}
