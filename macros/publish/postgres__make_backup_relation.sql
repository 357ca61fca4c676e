{#
    The relation in which dbt keeps the previous version of another one: macros/publish/relation_with_suffix.sql.
#}
{% macro postgres__make_backup_relation(base_relation, backup_relation_type, suffix) %}

{{ return(dpe.relation_with_suffix(base_relation, suffix).incorporate(type=backup_relation_type)) }}

{% endmacro %}
