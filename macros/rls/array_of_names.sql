{#
    Names as an SQL array.
#}
{% macro array_of_names(names) -%}
array['{{ names | map("replace", "'", "''") | join("', '") }}']::name[]
{%- endmacro %}
