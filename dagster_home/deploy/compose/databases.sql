-- Run once, by the image of Postgres, when it makes its data folder.
create database dagster;
