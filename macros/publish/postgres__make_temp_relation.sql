{#
    The temporary relation that dbt makes for another one, under a name that no other run uses: macros/publish/relation_with_suffix.sql.
#}
{% macro postgres__make_temp_relation(base_relation, suffix) %}

{% set unique = suffix ~ modules.datetime.datetime.now().strftime('%H%M%S%f') %}
{{ return(dpe.relation_with_suffix(base_relation, unique).incorporate(path={'schema': none, 'database': none})) }}

{% endmacro %}
