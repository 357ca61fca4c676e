{#
    Say what the policies of a declaration are, for a comment on one: the declaration, and a digest of the conditions.
#}
{% macro describe_policies(declaration) -%}

{%- set kind, value = declaration.items() | first -%}
{{ kind }} {{ value }}, {{ local_md5(system_predicate(declaration) ~ reader_predicate(declaration)) }}

{%- endmacro %}
