{#
    A name as the comment on a policy records it: without the characters that separate names there. dpe.decoded_name
    decodes it.
#}
{% macro encoded_name(name) -%}
{{ return(name | replace('%', '%25') | replace(',', '%2C') | replace("'", '%27') | replace('}', '%7D') | replace(': ', '%3A ')) }}
{%- endmacro %}
