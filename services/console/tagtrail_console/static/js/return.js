// A link from a chat arrives without the session's cookie (SameSite=Strict), and the help is shown.
// Asked from here, which is the same site, the cookie is sent: if it is good, open the page anew.
const answer = await fetch("/console/api/v1/sites?limit=1", { headers: { accept: "application/json" } });
if (answer.ok) location.replace(location.href);
