// Loads the page's modules; where one of them did not arrive (a phone between two access points),
// opens the page anew, a few times.
const MOST = 5;
const tries = Number(sessionStorage.getItem("tagtrail-tries") ?? 0);
const main = document.createElement("script");
main.type = "module";
main.src = document.currentScript.dataset.main;
main.addEventListener("load", () => sessionStorage.removeItem("tagtrail-tries"));
main.addEventListener("error", () => {
  if (tries >= MOST) return sessionStorage.removeItem("tagtrail-tries");
  sessionStorage.setItem("tagtrail-tries", tries + 1);
  return setTimeout(() => location.reload(), 500 * (tries + 1));
});
document.head.append(main);
