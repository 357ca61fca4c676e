{#
    Describe the policies of a declaration in a comment on one of them: the declaration, and a digest of the conditions and masks. A table
    that is kept between runs is protected again if this changes; `dpe rls check` reads the declaration.
#}
{% macro describe_policies(declaration, masked=[]) -%}

{%- set kind, value = declaration.items() | first -%}
{%- set shown = value | join(', ') if value is sequence and value is not string and value is not mapping else value -%}
{{ kind }} {{ shown | string | replace("'", "") }}, {{ local_md5(rls_predicate(declaration, 'system') ~ rls_predicate(declaration, 'reader') ~ ' to masked readers ' ~ masked | join(', ') ~ (rls_predicate(declaration, 'mask') if masked else '')) }}

{%- endmacro %}
