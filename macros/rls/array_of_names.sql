{#
    Names as an array in SQL.
#}
{% macro array_of_names(names) -%}
array['{{ names | map("replace", "'", "''") | join("', '") }}']::name[]
{%- endmacro %}
