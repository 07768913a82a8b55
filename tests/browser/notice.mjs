// What a person sees and does when their session is about to end, or has ended, while a page is open.
//
// `/noted` leads to the application, with the expiry notice on its pages.

import assert from 'node:assert/strict';
import { complaints } from './pages.mjs';
import { LOGIN, LOGOUT, field, pathOf, signIn, submitLogin } from './stage.mjs';

const MINUTE = 60;

export const noticeFlows = {
  async notice_comes_before_the_end_and_goes_when_somebody_stays(stage) {
    const { visitor, page } = await reader(stage);
    await pass(stage, visitor, 27 * MINUTE);
    assert.equal(await dialog(page).count(), 0);
    await pass(stage, visitor, MINUTE + 30);
    await dialog(page).getByRole('heading', { name: 'Are you still there?' }).waitFor();
    assert.match(await dialog(page).getByRole('timer').textContent(), /^1:[0-3]\d$/);
    for (const colorScheme of ['light', 'dark']) {
      await page.emulateMedia({ colorScheme });
      assert.deepEqual(await complaints(page, 'vestibule-notice'), [], colorScheme);
    }
    await dialog(page).getByRole('button', { name: 'Stay signed in' }).click();
    await dialog(page).waitFor({ state: 'detached' });
    await pass(stage, visitor, 20 * MINUTE);
    await page.goto('/noted/whoami');
    assert.equal(pathOf(page), '/noted/whoami');
  },

  // To be asked how long it lasts keeps no session alive.
  async notice_alone_does_not_keep_anybody_signed_in(stage) {
    const { visitor, page } = await reader(stage);
    await pass(stage, visitor, 28 * MINUTE + 30);
    await dialog(page).getByRole('button', { name: 'Not now' }).click();
    assert.equal(await dialog(page).count(), 0);
    await pass(stage, visitor, 2 * MINUTE);
    await dialog(page).getByRole('heading', { name: 'You are signed out' }).waitFor();
  },

  async notice_that_is_answered_in_one_tab_goes_in_all(stage) {
    const { visitor, page } = await reader(stage);
    const other = await visitor.newPage();
    await other.goto('/noted/whoami');
    await settled(other);
    await pass(stage, visitor, 28 * MINUTE + 30);
    await dialog(page).waitFor();
    await dialog(other).waitFor();
    await dialog(other).getByRole('button', { name: 'Stay signed in' }).click();
    await dialog(page).waitFor({ state: 'detached' });
    await dialog(other).waitFor({ state: 'detached' });
    await pass(stage, visitor, 28 * MINUTE + 30);
    await dialog(page).getByRole('button', { name: 'Not now' }).click();
    await dialog(other).waitFor({ state: 'detached' });
  },

  async notice_lets_an_expired_session_begin_again_and_keeps_what_was_typed(stage) {
    const { visitor, page } = await reader(stage);
    await page.getByLabel('Note').fill('milk & bread');
    await pass(stage, visitor, 31 * MINUTE);
    await dialog(page).getByRole('heading', { name: 'You are signed out' }).waitFor();
    await signInAgain(page);
    assert.equal(await page.getByLabel('Note').inputValue(), 'milk & bread');
    await page.getByRole('button', { name: 'Save note' }).click();
    await page.locator('#note').getByText('milk & bread').waitFor();
  },

  async notice_says_when_another_tab_signs_out(stage) {
    const { visitor, page } = await reader(stage);
    const other = await visitor.newPage();
    await other.goto(LOGOUT);
    await field.signOut(other).click();
    await other.waitForURL((url) => url.pathname === LOGIN);
    await dialog(page).getByRole('heading', { name: 'You are signed out' }).waitFor();
  },

  async notice_says_when_somebody_else_signs_in(stage) {
    const { visitor, page } = await reader(stage);
    const other = await visitor.newPage();
    await other.goto(LOGOUT);
    await field.signOut(other).click();
    await other.waitForURL((url) => url.pathname === LOGIN);
    await submitLogin(other, { user: 'ada' });
    await other.goto('/noted/whoami');
    await dialog(page).getByRole('heading', { name: 'Somebody else is signed in' }).waitFor();
    await dialog(page).getByText('ada is signed in in this browser now').waitFor();
    await dialog(page).getByRole('button', { name: 'Reload this page' }).click();
    await dialog(page).waitFor({ state: 'detached' });
  },

  // Who types is not interrupted; who does not has the button under their fingers.
  async notice_takes_the_focus_only_from_who_does_not_type(stage) {
    const { visitor, page } = await reader(stage);
    await page.getByLabel('Note').focus();
    await pass(stage, visitor, 28 * MINUTE + 30);
    await dialog(page).waitFor();
    await page.keyboard.type('still here');
    assert.equal(await page.getByLabel('Note').inputValue(), 'still here');
    await dialog(page).getByRole('button', { name: 'Stay signed in' }).click();
    await dialog(page).waitFor({ state: 'detached' });
    await page.evaluate(() => document.activeElement?.blur());
    await pass(stage, visitor, 28 * MINUTE + 30);
    await dialog(page).waitFor();
    await page.keyboard.press('Enter');
    await dialog(page).waitFor({ state: 'detached' });
    await pass(stage, visitor, 28 * MINUTE + 30);
    await dialog(page).waitFor();
    await page.keyboard.press('Escape');
    await dialog(page).waitFor({ state: 'detached' });
  },

  async notice_works_under_a_strict_policy_of_the_page(stage) {
    const visitor = await timed(stage);
    const page = await visitor.newPage();
    const complaints = [];
    const policy = "default-src 'none'; require-trusted-types-for 'script'; frame-ancestors 'none'";
    await signIn(page, `/noted/policy?csp=${encodeURIComponent(policy)}`);
    page.on('console', (message) => complaints.push(message.text()));
    page.on('pageerror', (error) => complaints.push(String(error)));
    await page.reload();
    await settled(page);
    await pass(stage, visitor, 28 * MINUTE + 30);
    await dialog(page).getByRole('button', { name: 'Stay signed in' }).click();
    await dialog(page).waitFor({ state: 'detached' });
    assert.deepEqual(complaints, []);
  },

  async notice_shows_the_nonce_of_a_page_that_has_one(stage) {
    const visitor = await timed(stage);
    const page = await visitor.newPage();
    const policy = "script-src 'strict-dynamic' 'nonce-r4nd0m'";
    await signIn(page, `/noted/policy?csp=${encodeURIComponent(policy)}`);
    await settled(page);
    await pass(stage, visitor, 28 * MINUTE + 30);
    await dialog(page).waitFor();
  },

  // What a page says of its elements does not reach the notice.
  async notice_looks_the_same_whatever_the_style_of_the_page(stage) {
    const { visitor, page } = await reader(stage);
    await page.addStyleTag({ content: '* { display: none !important; all: unset !important; font-size: 3px !important }' });
    await pass(stage, visitor, 28 * MINUTE + 30);
    await dialog(page).waitFor();
    const box = await dialog(page).boundingBox();
    assert.ok(box.width > 250 && box.height > 100, JSON.stringify(box));
  },

  async packed_page_of_a_stubborn_application_is_left_alone(stage) {
    const page = await (await stage.visitor()).newPage();
    await signIn(page, '/noted/packed');
    assert.equal(await page.locator('#packed').textContent(), 'packed all the same');
    assert.equal(await page.locator('script[src*="notice.js"]').count(), 0);
  },

  async pages_with_the_notice_work_without_javascript(stage) {
    const page = await (await stage.visitor({ javaScriptEnabled: false })).newPage();
    await signIn(page, '/noted/form');
    await page.getByLabel('Note').fill('eggs');
    await page.getByRole('button', { name: 'Save note' }).click();
    await page.locator('#note').getByText('eggs').waitFor();
  },

  // An absolute end cannot be moved: only a new login helps, which is offered before it.
  async notice_offers_a_new_login_before_an_end_that_cannot_be_moved(stage) {
    const { visitor, page } = await reader(stage);
    await page.getByLabel('Note').fill('apples');
    await pass(stage, visitor, 58 * MINUTE + 30);
    await dialog(page).getByRole('heading', { name: 'Your session is about to end' }).waitFor();
    assert.equal(await dialog(page).getByRole('button', { name: 'Stay signed in' }).count(), 0);
    await signInAgain(page);
    assert.equal(await page.getByLabel('Note').inputValue(), 'apples');
    await pass(stage, visitor, 30 * MINUTE);
    assert.equal(await dialog(page).count(), 0);
  },
};

const dialog = (page) => page.getByRole('alertdialog');

// A visitor whose clock can be moved with that of the gateway.
async function timed(stage) {
  const visitor = await stage.visitor();
  await visitor.clock.install();
  return visitor;
}

// Somebody who is signed in and has a form before them.
async function reader(stage) {
  const visitor = await timed(stage);
  const page = await visitor.newPage();
  await signIn(page, '/noted/form');
  await settled(page);
  return { visitor, page };
}

// The script has asked how long the session lives.
async function settled(page) {
  await page.waitForLoadState('networkidle');
}

async function pass(stage, visitor, seconds) {
  await stage.advance(seconds);
  await visitor.clock.fastForward(seconds * 1_000);
}

async function signInAgain(page) {
  const opened = page.waitForEvent('popup');
  await dialog(page).getByRole('link', { name: 'Sign in again' }).click();
  const small = await opened;
  await field.password(small).waitFor();
  const closed = small.waitForEvent('close');
  await field.user(small).fill('alice');
  await field.password(small).fill(process.env.VESTIBULE_TEST_PASSWORD);
  await field.signIn(small).click();
  await closed;
  await dialog(page).waitFor({ state: 'detached' });
}
