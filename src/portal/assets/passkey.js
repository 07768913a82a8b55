// Asks the browser for a passkey and puts its answer into the form that wanted it. Without this script the
// pages offer the other ways in.
'use strict';

const bytes = (text) => Uint8Array.from(atob(text.replace(/-/g, '+').replace(/_/g, '/')), (c) => c.charCodeAt(0));
const text = (buffer) => btoa(String.fromCharCode(...new Uint8Array(buffer)))
  .replace(/\+/g, '-').replace(/\//g, '_').replace(/=+$/, '');
const named = (list) => (list ?? []).map((entry) => ({ ...entry, id: bytes(entry.id) }));

async function ask(form) {
  const { publicKey } = JSON.parse(form.dataset.options);
  publicKey.challenge = bytes(publicKey.challenge);
  if (form.dataset.passkey === 'create') {
    publicKey.user.id = bytes(publicKey.user.id);
    publicKey.excludeCredentials = named(publicKey.excludeCredentials);
    return navigator.credentials.create({ publicKey });
  }
  publicKey.allowCredentials = named(publicKey.allowCredentials);
  return navigator.credentials.get({ publicKey });
}

function written({ id, rawId, type, response }) {
  const parts = ['clientDataJSON', 'attestationObject', 'authenticatorData', 'signature', 'userHandle'];
  const there = parts.filter((part) => response[part]).map((part) => [part, text(response[part])]);
  return JSON.stringify({ id, rawId: text(rawId), type, response: Object.fromEntries(there), extensions: {} });
}

const cannot = !window.PublicKeyCredential;
for (const told of document.querySelectorAll('[data-without-passkeys]')) told.hidden = !cannot;
for (const form of document.querySelectorAll('form[data-passkey]')) {
  if (cannot) break;
  form.hidden = false;
  form.addEventListener('submit', async (event) => {
    if (form.elements.answer.value) return;
    event.preventDefault();
    const failed = form.querySelector('[role="alert"]');
    failed.hidden = true;
    try {
      form.elements.answer.value = written(await ask(form));
      form.submit();
    } catch {
      failed.hidden = false;
    }
  });
}
