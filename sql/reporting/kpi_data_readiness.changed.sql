-- Some checks depend on what day it is: always anew.
select
