"""The console: a page in the browser that shows what workloads, queues, GPUs and costs do.

`http://console.<domain>` is another name of the api, and `/` is the page. It is files alone: index.html, style.css and
ES modules, as they are here, and it asks the REST API as any client does. `app.js` chooses the view that the address
names, `views/` has one module a view, and `dom.js` is the only module that makes elements.
"""
