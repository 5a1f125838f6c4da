-- index: date_id
-- index: date
-- Made when it is published, never again: days do not change.
select where
    false
