{#
    A relation as a value of regclass: what dpe's functions are given.
#}
{% macro regclass_of(relation) -%}
'{{ relation | string | replace("'", "''") }}'::regclass
{%- endmacro %}
