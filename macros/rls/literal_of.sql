{#
    A text, or a relation's quoted name, as a literal of SQL. Not part of a format string: names may hold `%`.
#}
{% macro literal_of(text) -%}
'{{ text | string | replace("'", "''") }}'
{%- endmacro %}
