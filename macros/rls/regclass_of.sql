{#
    A relation as a regclass value, for dpe's functions.
#}
{% macro regclass_of(relation) -%}
'{{ relation | string | replace("'", "''") }}'::regclass
{%- endmacro %}
