// node-postgres as it comes, with named statements too, and with cursors and copies by its own add-ons.
// More connections than there are servers, all at once.
'use strict';

const assert = require('node:assert');
const { pipeline } = require('node:stream/promises');
const { Client, Pool } = require('pg');
const Cursor = require('pg-cursor');
const copy = require('pg-copy-streams');

const CONNECTIONS = 6;

async function transactions(client, number) {
  const count = { name: 'count', text: 'select count(*)::int as n from notes where owner = $1', values: [number] };
  const insert = (body) => ({ name: 'insert', text: 'insert into notes values ($1, $2)', values: [number, body] });
  const before = (await client.query(count)).rows[0].n;
  for (let round = 1; round <= 20; round += 1) {
    await client.query('begin');
    await client.query(insert(`note ${round}`));
    assert.strictEqual((await client.query(count)).rows[0].n, before + round);
    await client.query('commit');
    assert.strictEqual((await client.query(count.text, [number])).rows[0].n, before + round);
  }
}

async function errors(client, number) {
  const divide = (by) => ({ name: 'divide', text: 'select 100 / $1::int as n', values: [by] });
  for (let round = 1; round <= 10; round += 1) {
    assert.strictEqual((await client.query(divide(round))).rows[0].n, Math.floor(100 / round));
    await assert.rejects(client.query(divide(0)), { code: '22012' });
    await client.query('begin');
    await assert.rejects(client.query(divide(0)), { code: '22012' });
    await assert.rejects(client.query(divide(1)), { code: '25P02' });
    await client.query('rollback');
    await assert.rejects(client.query({ name: `wrong ${number}`, text: 'selec' }), { code: '42601' });
  }
}

// Queries that are sent without waiting: node-postgres queues them itself.
async function many(client, number) {
  const queries = [];
  for (let n = 0; n < 50; n += 1) {
    queries.push(client.query({ name: `sum ${n % 7}`, text: `select $1::int + ${n % 7} as n`, values: [number] }));
  }
  (await Promise.all(queries)).forEach(({ rows }, n) => assert.strictEqual(rows[0].n, number + (n % 7)));
}

async function cursors(client, number) {
  for (let round = 0; round < 5; round += 1) {
    await client.query('begin');
    const cursor = client.query(new Cursor('select generate_series(1, $1::int) as n', [100 + number]));
    let seen = 0;
    for (let rows = await cursor.read(7); rows.length > 0; rows = await cursor.read(7)) seen += rows.length;
    assert.strictEqual(seen, 100 + number);
    await cursor.close();
    await client.query('commit');
  }
}

async function copies(client, number) {
  await client.query('begin');
  const lines = Array.from({ length: 500 }, (_, n) => `${-1 - number}\tcopied ${n}\n`);
  await pipeline(lines, client.query(copy.from('copy notes from stdin')));
  let text = '';
  const out = client.query(copy.to(`copy (select * from notes where owner = ${-1 - number}) to stdout`));
  for await (const chunk of out) text += chunk;
  assert.strictEqual(text.split('\n').length, 501);
  await client.query('rollback');
}

async function types(client) {
  const when = new Date('2024-01-02T03:04:05.678Z');
  const text =
    'select $1::int as a, $2::text as b, $3::bytea as c, $4::bool as d, $5::timestamptz as e, ' +
    '$6::jsonb as f, $7::int[] as g, $8::float8 as h, $9::text as i';
  const values = [1, 'Grüße', Buffer.from([0, 255]), true, when, { k: [1] }, [1, 2, null], -1.5, null];
  for (const name of [undefined, 'types', 'types']) {
    const { rows } = await client.query({ name, text, values });
    assert.deepStrictEqual(Object.values(rows[0]), values);
  }
}

async function cleaned(client, number) {
  for (const clean of ['discard all', 'deallocate all']) {
    const kept = { text: 'select $1::int as n', values: [number] };
    await client.query(clean);
    assert.strictEqual((await client.query(kept)).rows[0].n, number);
  }
}

async function notifications() {
  const listener = new Client();
  await listener.connect();
  await listener.query('listen news');
  const heard = new Promise((resolve) => {
    const payloads = [];
    listener.on('notification', ({ payload }) => payloads.push(payload) === 7 && resolve(payloads));
  });
  const pool = new Pool({ max: 1 });
  for (let n = 0; n < 7; n += 1) await pool.query("select pg_notify('news', $1)", [`number ${n}`]);
  assert.deepStrictEqual(await heard, Array.from({ length: 7 }, (_, n) => `number ${n}`));
  await listener.end();
  await pool.end();
}

async function main() {
  const pool = new Pool({ max: CONNECTIONS });
  await pool.query('create table notes (owner int, body text)');
  for (const work of [transactions, errors, many, cursors, copies, types]) {
    const all = Array.from({ length: CONNECTIONS * 2 }, async (_, number) => {
      const client = await pool.connect();
      await work(client, number).finally(() => client.release());
    });
    await Promise.all(all);
  }
  await pool.end();
  // It does not notice that its statements are gone, so these are connections of their own.
  const last = new Pool({ max: 1 });
  const client = await last.connect();
  await cleaned(client, 7);
  client.release();
  await last.end();
  await notifications();
  console.log('done');
}

main().catch((failure) => {
  console.error(failure);
  process.exit(1);
});
