// PostGraphile over the database at DATABASE_URL, on 127.0.0.1; prints its port and ends with its standard input.
import { createServer } from "node:http";
import { postgraphile } from "postgraphile";
import { makePgService } from "postgraphile/adaptors/pg";
import { grafserv } from "postgraphile/grafserv/node";
import { PostGraphileAmberPreset } from "postgraphile/presets/amber";
import { addPgTableOrderBy, orderByAscDesc, pgSmartTags } from "postgraphile/utils";

// The tables have no foreign keys: it is told of those that the queries follow.
const relations = pgSmartTags([
  {
    kind: "class",
    match: "attendance",
    tags: {
      foreignKey: [
        "(session_id) references session (id)|@fieldName session|@foreignFieldName marks",
        "(student_id) references student (id)|@fieldName student|@foreignFieldName marks",
      ],
    },
  },
]);

// Registers are in the order of names.
const byName = addPgTableOrderBy({ schemaName: "public", tableName: "attendance" }, (build) =>
  orderByAscDesc("STUDENT_NAME", (builder) => ({
    fragment: build.sql`(select s.name from student s where s.id = ${builder.alias}.student_id)`,
    codec: build.dataplanPg.TYPES.text,
  })),
);

const instance = postgraphile({
  extends: [PostGraphileAmberPreset],
  plugins: [relations, byName],
  // As many connections as the hub reads through.
  pgServices: [makePgService({ connectionString: process.env.DATABASE_URL, schemas: ["public"], poolConfig: { max: 14 } })],
  grafserv: { graphiql: false, watch: false, websockets: false, outputDataAsString: true },
  grafast: { explain: false },
});
const server = createServer();
await instance.createServ(grafserv).addTo(server);
await instance.getSchema();
server.listen(0, "127.0.0.1", () => console.log(server.address().port));
process.stdin.resume().on("end", () => process.exit(0));
