{#
    The condition that the session's role has the rights of one of these roles; a role that was dropped raises no error.
#}
{% macro reads_as_one_of(roles) -%}
{%- for role in roles -%}
pg_has_role(to_regrole({{ dpe.literal_of(dpe.quote_name(role)) }}), 'usage'){{ ' or ' if not loop.last }}
{%- endfor -%}
{%- endmacro %}
