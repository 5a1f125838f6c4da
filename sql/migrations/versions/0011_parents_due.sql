-- How many parents a run over a list below them has to read.

-- Lists below a parent have no count that could be asked: how far a run has come is told by parents.
alter table cw_sync.run add column parents_due integer;
comment on column cw_sync.run.parents_due is 'Of a list below a parent: whose children the run had to read, when it began; null for one parent and for other lists';
