// Drives Chromium for the tests: a JSON document on each line of standard input is one thing to do, and its outcome is
// one line of standard output. Scripts of pages are off where nobody asks for them, so that nothing can depend on them.
import { chromium } from 'playwright-core';
import { createInterface } from 'node:readline';

const browser = await chromium.launch({
  executablePath: process.argv[2],
  args: [
    '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking',
    '--disable-component-update', '--disable-sync',
  ],
});
const context = await browser.newContext({ javaScriptEnabled: process.argv[3] === 'scripts', ignoreHTTPSErrors: true });
const page = await context.newPage();
let answer;
// The last form that was sent, to be sent once more.
let form = '';
page.on('request', (request) => {
  if (request.method() === 'POST') form = request.postData() ?? '';
});
// One for all: where a second one ends, Chromium takes the authenticators out.
const devtools = await context.newCDPSession(page);
page.on('response', (response) => {
  const request = response.request();
  if (request.isNavigationRequest() && request.frame() === page.mainFrame()) answer = response;
});

async function shown() {
  await page.waitForLoadState('load');
  return { url: page.url(), status: answer?.status(), headers: answer ? await answer.allHeaders() : {} };
}

const able = {
  async go({ url }) {
    await page.goto(url);
    return shown();
  },
  async fill({ at, value }) {
    await page.fill(at, value);
  },
  async select({ at, value }) {
    await page.selectOption(at, value);
  },
  // Clicks on what leads to another page.
  async click({ at }) {
    await Promise.all([page.waitForNavigation(), page.click(at)]);
    return shown();
  },
  text: ({ at }) => page.innerText(at),
  value: ({ at }) => page.inputValue(at),
  count: ({ at }) => page.locator(at).count(),
  async cookies() {
    const { cookies } = await devtools.send('Network.getAllCookies');
    return cookies;
  },
  // A page of another site, which is never asked for over the network.
  async elsewhere({ url, html }) {
    await context.route(url, (route) => route.fulfill({ contentType: 'text/html', body: html }));
    await page.goto(url);
  },
  // Puts an authenticator in that exists in software only, and gives what it is called.
  async authenticator() {
    await devtools.send('WebAuthn.enable', { enableUI: false });
    const { authenticatorId } = await devtools.send('WebAuthn.addVirtualAuthenticator', {
      options: {
        protocol: 'ctap2', transport: 'usb', hasResidentKey: true, hasUserVerification: true, isUserVerified: true,
        automaticPresenceSimulation: true,
      },
    });
    return authenticatorId;
  },
  async unplug({ authenticator }) {
    await devtools.send('WebAuthn.removeVirtualAuthenticator', { authenticatorId: authenticator });
  },
  // What it holds, with its private keys.
  async credentials({ authenticator }) {
    return (await devtools.send('WebAuthn.getCredentials', { authenticatorId: authenticator })).credentials;
  },
  async hold({ authenticator, credential }) {
    await devtools.send('WebAuthn.addCredential', { authenticatorId: authenticator, credential });
  },
  // Uses what leads nowhere.
  async press({ at, shows }) {
    await page.click(at);
    await page.waitForSelector(shows, { state: 'visible' });
  },
  form: () => form,
  async picture({ path, width, dark }) {
    await page.emulateMedia({ colorScheme: dark ? 'dark' : 'light' });
    await page.setViewportSize({ width, height: 800 });
    await page.screenshot({ path, fullPage: true });
    return page.evaluate(() => document.documentElement.scrollWidth);
  },
};

for await (const line of createInterface({ input: process.stdin })) {
  const { act, ...rest } = JSON.parse(line);
  let outcome;
  try {
    outcome = { done: (await able[act](rest)) ?? null };
  } catch (error) {
    outcome = { failed: `${error}`, url: page.url(), page: await page.innerText('body').catch(() => '') };
  }
  console.log(JSON.stringify(outcome));
}
await browser.close();
