// Reads every list of a simulated tenant with connectwise-rest, and writes its records down beside
// the types that it declares for them, for TypeScript to compare.
//
// node connectwise_rest.cjs NODE_MODULES URL PATHS.json CHECK.ts
// Prints {"read": {path: [ids]}, "unknown": [paths]}.
"use strict";
const fs = require("fs");
const path = require("path");
const [modules, url, pathsFile, checkFile] = process.argv.slice(2);
const home = path.join(modules, "connectwise-rest");
const { ManageAPI } = require(home);
const EXAMPLES = 8; // of each list, of records that have their fields in another form

// The names of its methods and their answers' schemas, by module and name in lower case.
function declared() {
  const found = {};
  const folder = path.join(home, "dist", "Manage");
  for (const file of fs.readdirSync(folder).filter((each) => each.endsWith("API.d.ts"))) {
    const text = fs.readFileSync(path.join(folder, file), "utf8");
    const schemas = {};
    for (const [, alias, schema] of text.matchAll(/type (\w+) = schemas\['([^']+)'\]/g)) {
      schemas[alias] = schema;
    }
    for (const [, name, model] of text.matchAll(/(get\w+)\([^)]*\): Promise<Array<(\w+)>>/g)) {
      found[name.toLowerCase()] = { api: file.slice(0, -5), name, schema: schemas[model] };
    }
  }
  return found;
}

// `/service/boards/3/statuses` is getServiceBoardsByParentIdStatuses.
function methodName(list) {
  return `get${list.replace(/\/\d+(?=\/)/g, "/ByParentId").replace(/\//g, "")}`.toLowerCase();
}

function client() {
  const options = {
    companyId: "demo", publicKey: "public", privateKey: "private", companyUrl: "localhost",
    clientId: "00000000-0000-4000-8000-000000000000", logger: () => {},
  };
  const made = new ManageAPI(options);
  for (const each of [made, ...Object.values(made)]) {
    if (each && each.instance) {
      // It insists on https, which a loopback server does not speak.
      each.instance.defaults.baseURL = `${url}/v4_6_release/apis/3.0`;
    }
  }
  return made;
}

// It declares answers and the values of custom fields to be objects, which none is.
function withoutValues(record) {
  const fields = record.customFields?.map(({ value, ...rest }) => rest);
  const questions = record.questions?.map(({ answer, ...rest }) => rest);
  return {
    ...record, ...(fields && { customFields: fields }), ...(questions && { questions: questions }),
  };
}

// Which fields a record has and of which type, as a text.
function shape(value) {
  if (Array.isArray(value)) return `[${[...new Set(value.map(shape))].sort()}]`;
  if (value === null || typeof value !== "object") return typeof value;
  return `{${Object.keys(value).sort().map((key) => key + shape(value[key]))}}`;
}

async function main() {
  const api = client();
  const methods = declared();
  const read = {}, unknown = [], checks = [];
  for (const list of JSON.parse(fs.readFileSync(pathsFile, "utf8"))) {
    const method = methods[methodName(list)];
    if (!method) { unknown.push(list); continue; }
    const own = api[method.api];
    const parents = [...list.matchAll(/\/(\d+)(?=\/)/g)].map((each) => Number(each[1]));
    const records = await own.paginate(
      own[method.name].bind(own), { pageSize: 1000 }, ...parents.reverse(), {},
    );
    read[list] = records.map((each) => each.id);
    const examples = new Map(records.map(withoutValues).map((each) => [shape(each), each]));
    const kept = [...examples.values()].slice(0, EXAMPLES);
    checks.push(
      `// ${list}\nconst r${checks.length} = ${JSON.stringify(kept)} as const;\n` +
      `check<schemas["${method.schema}"]>(r${checks.length});`,
    );
  }
  const types = JSON.stringify(path.join(home, "dist", "ManageTypes"));
  fs.writeFileSync(checkFile, `import type { components } from ${types};
type schemas = components["schemas"];
type Fixed<T> = T extends (infer U)[] ? readonly Fixed<U>[]
  : T extends object ? { readonly [K in keyof T]: Fixed<T[K]> } : T;
function check<T>(_records: readonly Fixed<T>[]) {}
${checks.join("\n")}
`);
  console.log(JSON.stringify({ read, unknown }));
}

main().catch((error) => { console.error(error); process.exit(1); });
