{#
    The name that is derived from a relation's name by a suffix. A name that leaves no room for the suffix is cut, and gets a part of its
    MD5 digest, so that two long names stay different. `dpe.companion_name` and dpe_cli/server/relations.py derive the same names.
#}
{% macro companion_name(name, suffix) -%}
{% set most = 63 - dpe.bytes_of(suffix) %}
{% if dpe.bytes_of(name) <= most %}
    {{ return(name ~ suffix) }}
{% endif %}
{{ return(name.encode()[:most - 9].decode('utf-8', 'ignore') ~ '_' ~ local_md5(name)[:8] ~ suffix) }}
{%- endmacro %}
