// The status page in Chromium, as people see it: on a phone and on a desk, by day and by night.
// PAGE is its address, EXPECTED what must be read there (JSON); SHOTS, if set, is where pictures go.
'use strict';

const assert = require('node:assert');
const { chromium } = require('playwright-core');

const address = process.env.PAGE;
const { headline, texts, hostile } = JSON.parse(process.env.EXPECTED);
const shots = process.env.SHOTS;

const SIZES = [{ width: 360, height: 740 }, { width: 1280, height: 900 }];

async function check(browser, viewport, colorScheme) {
  const what = `${viewport.width} px, ${colorScheme}`;
  const context = await browser.newContext({ viewport, colorScheme, timezoneId: 'UTC', locale: 'en-US' });
  const page = await context.newPage();
  const wrong = [];
  page.on('console', (message) => {
    if (['error', 'warning'].includes(message.type())) wrong.push(`console: ${message.text()}`);
  });
  page.on('pageerror', (error) => wrong.push(`error: ${error}`));
  page.on('dialog', (dialog) => { wrong.push('a dialog'); dialog.dismiss(); });
  page.on('request', (request) => {
    if (!request.url().startsWith(address) && request.url() !== 'data:,') wrong.push(`request: ${request.url()}`);
  });
  await page.goto(address);
  await page.waitForFunction((text) => document.querySelector('h1').textContent.includes(text), headline);
  await page.waitForFunction(() => document.querySelector('#link').textContent === 'Live');
  await page.waitForSelector('#charts figure:nth-child(6)');
  const body = await page.locator('body').innerText();
  for (const text of texts) assert(body.includes(text), `${what}: no "${text}" in\n${body}`);
  // What a client calls itself is read, and does nothing.
  for (const name of hostile) assert(body.includes(name), `${what}: no "${name}" in\n${body}`);
  const made = await page.evaluate(() => ({
    elements: document.querySelectorAll('main img, main script, main iframe, main b b').length,
    ran: 'pwned' in window,
    overflow: document.documentElement.scrollWidth - window.innerWidth,
    headings: [...document.querySelectorAll('h1, h2')].filter((one) => one.checkVisibility()).map((one) => one.tagName),
    unnamed: [...document.querySelectorAll('svg')].filter((one) => one.checkVisibility())
      .filter((one) => !one.querySelector('title').textContent || !one.querySelector('desc').textContent).length,
  }));
  assert.deepStrictEqual([made.elements, made.ran], [0, false], what);
  assert(made.overflow <= 0, `${what}: ${made.overflow} px too wide`);
  assert.strictEqual(made.headings.filter((name) => name === 'H1').length, 1, what);
  assert.strictEqual(made.unnamed, 0, what);
  await keyboard(page, what);
  await contrast(page, what);
  if (shots) {
    await page.screenshot({ path: `${shots}/page-${viewport.width}-${colorScheme}.png`, fullPage: true });
  }
  assert.deepStrictEqual(wrong, [], what);
  await context.close();
}

// Two pools of one name are two things that need attention; and one that is seen again is left alone, or a screen
// reader would begin anew.
async function attention(browser) {
  const page = await browser.newPage();
  const of = (user, state, reason) => ({ what: 'pool', name: 'a/b', database: 'a', user, state, since: null, reason });
  let now = [of('b', 'paused', 'first'), of('c', 'paused', 'second')];
  await page.route('**/api/status.json', async (route) => {
    const response = await route.fetch();
    await route.fulfill({ response, json: { ...(await response.json()), attention: now } });
  });
  await page.goto(address);
  const shows = (texts) => page.waitForFunction((wanted) => {
    const found = [...document.querySelectorAll('#attention li .reason')].map((one) => one.textContent);
    return JSON.stringify(found) === wanted;
  }, JSON.stringify(texts));
  await shows(['first', 'second']);
  await page.evaluate(() => document.querySelectorAll('#attention li').forEach((item, at) => { item.seen = at; }));
  // The second alone, with news; then in another state, which is another thing.
  now = [of('c', 'paused', 'second, and more')];
  await shows(['second, and more']);
  const seen = () => page.evaluate(() => document.querySelector('#attention li').seen);
  assert.strictEqual(await seen(), 1);
  now = [of('c', 'shedding', 'third')];
  await shows(['third']);
  assert.strictEqual(await seen(), undefined);
  // Each has its own words, alone and beside another.
  for (const state of ['stopping', 'full', 'logins', 'config', 'suspended', 'paused', 'disabled', 'server_down', 'shedding', 'draining']) {
    now = [of('b', state, state), of('c', state, `${state}, too`)];
    await shows([state, `${state}, too`]);
    const text = await page.locator('#attention').innerText();
    now = [of('b', state, state)];
    await shows([state]);
    const headline = await page.locator('h1').innerText();
    assert(!/undefined|thing/.test(text + headline), `${state}: ${headline}, ${text}`);
  }
  await page.close();
}

// A chart is reached and read without a mouse.
async function keyboard(page, what) {
  for (let presses = 0; presses < 20; presses += 1) {
    await page.keyboard.press('Tab');
    if (await page.evaluate(() => document.activeElement.matches('#charts svg'))) break;
  }
  assert(await page.evaluate(() => document.activeElement.matches('#charts svg')), `${what}: no chart is reached`);
  await page.keyboard.press('ArrowLeft');
  const moment = await page.locator('#moment').innerText();
  assert(moment.startsWith('At '), `${what}: ${moment}`);
  await page.keyboard.press('Escape');
}

// Text is 4.5 times as bright as what it is on, or the other way round.
async function contrast(page, what) {
  const low = await page.evaluate(() => {
    const channel = (value) => (value <= 0.03928 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4);
    const light = (colour) => {
      const [red, green, blue] = colour.match(/[\d.]+/g).map((value) => channel(Number(value) / 255));
      return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
    };
    const ground = (node) => {
      const colour = getComputedStyle(node).backgroundColor;
      return colour.endsWith(', 0)') ? ground(node.parentElement) : colour;
    };
    const found = [];
    for (const node of document.querySelectorAll('body *')) {
      const isText = [...node.childNodes].some((child) => child.nodeType === 3 && child.textContent.trim());
      if (!isText || !node.checkVisibility() || node.closest('svg, script, noscript')) continue;
      const [one, other] = [light(getComputedStyle(node).color), light(ground(node))].sort((a, b) => b - a);
      if ((one + 0.05) / (other + 0.05) < 4.5) found.push(`${node.tagName} ${node.textContent}`);
    }
    return found;
  });
  assert.deepStrictEqual(low, [], what);
}

async function main() {
  const isRoot = process.getuid() === 0;
  const executablePath = process.env.CHROMIUM || '/usr/bin/chromium';
  const browser = await chromium.launch({ executablePath, args: isRoot ? ['--no-sandbox'] : [] });
  for (const size of SIZES) {
    for (const scheme of ['light', 'dark']) await check(browser, size, scheme);
  }
  await attention(browser);
  // And when nobody answers.
  const page = await browser.newPage();
  await page.goto(address);
  await page.waitForFunction(() => document.querySelector('#link').textContent === 'Live');
  console.log('stop');
  await page.waitForFunction(() => document.querySelector('#link').textContent.startsWith('No answer'));
  assert(await page.evaluate(() => document.body.classList.contains('lost')));
  await browser.close();
  console.log('done');
}

main().catch((error) => {
  console.log(error);
  process.exit(1);
});
