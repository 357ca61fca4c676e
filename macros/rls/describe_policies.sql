{#
    Describe the policies of a declaration in a comment on one of them: the declaration, and a digest of the conditions and masks. A table
    that is kept between runs is protected again if this changes; `dpe rls check` reads the declaration.
#}
{% macro describe_policies(declaration, masked=[], readers=[]) -%}

{%- set kind, value = declaration.items() | first -%}
{%- if value is mapping -%}
{%- set parts = [] -%}
{%- for word, name in value.items() -%}
{%- do parts.append(word ~ ': ' ~ dpe.encoded_name(name)) -%}
{%- endfor -%}
{%- set shown = '{' ~ parts | join(', ') ~ '}' -%}
{%- elif value is boolean -%}
{%- set shown = value -%}
{%- else -%}
{%- set names = [] -%}
{%- for name in ([value] if value is string else value) -%}
{%- do names.append(dpe.encoded_name(name)) -%}
{%- endfor -%}
{%- set shown = names | join(', ') -%}
{%- endif -%}
{{ kind }} {{ shown }}, {{ local_md5(dpe.rls_predicate(declaration, 'system') ~ dpe.rls_predicate(declaration, 'reader', readers) ~ ' to masked readers ' ~ masked | join(', ') ~ (dpe.rls_predicate(declaration, 'mask', readers) if masked else '')) }}

{%- endmacro %}
