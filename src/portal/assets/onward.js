// On the pages between a request and a session: keeps the part of the wanted address after `#`, which no server ever
// sees, and tells other pages of this site that the session may have changed. Without it the pages work all the same.
'use strict';

// A browser takes the fragment of an address along when it is sent elsewhere. So it stays where a form or a link
// leads, whatever pages follow, and never leaves the browser.
if (location.hash) {
  for (const form of document.querySelectorAll('form[action]')) {
    form.setAttribute('action', form.getAttribute('action') + location.hash);
  }
  for (const link of document.querySelectorAll('a[href*="next="], a[data-next]')) link.hash = location.hash;
}

const others = new BroadcastChannel('vestibule');
others.postMessage({ look: true });

// The end of a login in a small window: it goes when the page behind it knows.
if (document.querySelector('[data-close]')) {
  others.onmessage = () => window.close();
  setTimeout(() => window.close(), 2_000);
}
