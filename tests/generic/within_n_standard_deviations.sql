{#
    Fails each of the latest periods whose number of rows, or sum of the column if there is one, is more than a number of standard
    deviations from the mean of the periods before. `datepart` is the length of a period. Passes if fewer than `minimum_history`
    periods precede it. Rows without a date, and periods without rows, are ignored.
#}
{% test within_n_standard_deviations(model, date_column, column_name=none, deviations=3, periods=1, datepart='day', minimum_history=7) %}

with

by_period as (

    select
        date_trunc('{{ datepart }}', {{ dpe.quoted(date_column) }}) as period,
        {{ 'coalesce(sum(' ~ dpe.quoted(column_name) ~ '), 0)' if column_name else 'count(*)' }}::numeric as measure,
        row_number() over (order by date_trunc('{{ datepart }}', {{ dpe.quoted(date_column) }}) desc) as age
    from {{ model }}
    where {{ dpe.quoted(date_column) }} is not null
    group by date_trunc('{{ datepart }}', {{ dpe.quoted(date_column) }})

),

history as (

    select
        avg(measure) as mean,
        stddev_samp(measure) as deviation,
        count(*) as periods
    from by_period
    where age > {{ periods }}

)

select
    by_period.period,
    by_period.measure,
    history.mean,
    history.deviation
from by_period
cross join history
where
    by_period.age <= {{ periods }}
    and history.periods >= {{ minimum_history }}
    and abs(by_period.measure - history.mean) > {{ deviations }} * history.deviation

{% endtest %}
