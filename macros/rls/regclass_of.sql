{#
    A relation as a regclass value, for dpe's functions.
#}
{% macro regclass_of(relation) -%}
{{ dpe.literal_of(relation) }}::regclass
{%- endmacro %}
