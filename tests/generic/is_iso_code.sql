{#
    Fails each row whose text is not a code of the standard: country (ISO 3166-1 alpha-2), country3 (alpha-3), currency
    (ISO 4217) or language (ISO 639-1), as macros/quality/iso_codes.sql lists them. Case matters. A null passes.
#}
{% test is_iso_code(model, column_name, standard) %}

select *
from {{ model }}
where {{ dpe.quoted(column_name) }} <> all ('{ {{- dpe.iso_codes(standard) | join(',') -}} }'::text[])

{% endtest %}
