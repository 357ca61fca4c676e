{#
    Return a value that an author wrote as the text that PostgreSQL can store of it: YAML has dates, numbers that JSON lacks, and
    characters that no text has, and no index can hold a text of thousands of characters: it is cut after `most` of them. One of these
    would keep the results of all tests of a run from being stored.
#}
{% macro stored_text(value, most=none) %}
{{ return(none if value is none else (value | string).replace('\x00', '').encode('utf-8', 'ignore').decode('utf-8')[:most]) }}
{% endmacro %}
