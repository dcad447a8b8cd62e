// Asks an authenticator what the server wants to know, and puts its answer into the form that asked. Nothing else on
// these pages needs scripts.
'use strict';

const bytes = (text) => Uint8Array.from(atob(text.replace(/-/g, '+').replace(/_/g, '/')), (c) => c.charCodeAt(0));
const text = (buffer) =>
  btoa(String.fromCharCode(...new Uint8Array(buffer))).replace(/\+/g, '-').replace(/\//g, '_').replace(/=+$/, '');

const reasons = {
  InvalidStateError: 'This authenticator holds one of your passkeys for this registry already.',
  NotAllowedError: 'No passkey was used: that was cancelled, or took too long. Try again.',
  SecurityError: 'Passkeys work at the public address of this registry only.',
};

async function ask(form) {
  const { publicKey } = JSON.parse(form.dataset.options);
  publicKey.challenge = bytes(publicKey.challenge);
  for (const known of [...(publicKey.allowCredentials ?? []), ...(publicKey.excludeCredentials ?? [])]) {
    known.id = bytes(known.id);
  }
  const isNew = form.dataset.passkey === 'create';
  if (isNew) publicKey.user.id = bytes(publicKey.user.id);
  const made = await navigator.credentials[isNew ? 'create' : 'get']({ publicKey });
  const response = { clientDataJSON: text(made.response.clientDataJSON) };
  if (isNew) {
    response.attestationObject = text(made.response.attestationObject);
  } else {
    response.authenticatorData = text(made.response.authenticatorData);
    response.signature = text(made.response.signature);
    response.userHandle = made.response.userHandle ? text(made.response.userHandle) : null;
  }
  return JSON.stringify({ id: made.id, rawId: text(made.rawId), type: made.type, response, extensions: {} });
}

for (const form of document.querySelectorAll('form[data-passkey]')) {
  const button = form.querySelector('button');
  const problem = form.querySelector('[data-problem]');
  const tell = (message) => {
    problem.textContent = message;
    problem.hidden = false;
  };
  if (!window.PublicKeyCredential) {
    tell('This browser takes no passkeys here. They need a current browser, and an encrypted connection.');
    continue;
  }
  button.disabled = false;
  form.addEventListener('submit', async (event) => {
    event.preventDefault();
    button.disabled = true;
    problem.hidden = true;
    try {
      form.elements.answer.value = await ask(form);
      form.submit();
    } catch (error) {
      tell(reasons[error.name] ?? `The passkey could not be used: ${error.name}.`);
      button.disabled = false;
    }
  });
}
